"""The operations of TensorFlow that compute on tensors alone: no files, no network, no Python, no printing."""

from __future__ import annotations

_CALLS = """
    Case If PartitionedCall StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile While
    Enter Exit LoopCond Merge NextIteration Switch Assert NoOp ControlTrigger
"""
_VALUES = """
    Const Placeholder PlaceholderV2 PlaceholderWithDefault Identity IdentityN Snapshot StopGradient PreventGradient
    CheckNumerics CheckNumericsV2 EnsureShape GuaranteeConst DeepCopy Empty Fill ZerosLike OnesLike FakeParam
    Shape ShapeN Size Rank Range LinSpace OneHot Bitcast Cast
"""
_VARIABLES = """
    VarHandleOp ReadVariableOp AssignVariableOp AssignAddVariableOp AssignSubVariableOp VarIsInitializedOp
    VariableShape DestroyResourceOp DisableCopyOnRead ResourceGather ResourceGatherNd
    ResourceScatterAdd ResourceScatterUpdate ResourceScatterNdUpdate ResourceStridedSliceAssign
"""
_TABLES = """
    HashTableV2 MutableHashTableV2 MutableHashTableOfTensorsV2 MutableDenseHashTableV2 AnonymousHashTable
    AnonymousMutableHashTable AnonymousMutableDenseHashTable InitializeTableV2 LookupTableFindV2 LookupTableImportV2
    LookupTableInsertV2 LookupTableExportV2 LookupTableSizeV2 LookupTableRemoveV2
"""
_ARITHMETIC = """
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 Angle ApproximateEqual Asin Asinh Atan Atan2 Atanh BesselI0 BesselI0e
    BesselI1 BesselI1e BesselJ0 BesselJ1 BesselK0 BesselK0e BesselK1 BesselK1e BesselY0 BesselY1 Betainc BitwiseAnd
    BitwiseOr BitwiseXor Ceil ClipByValue Complex ComplexAbs Conj Cos Cosh Cross Dawsn Digamma Div DivNoNan Equal Erf
    Erfc Erfinv Exp Expint Expm1 Floor FloorDiv FloorMod FresnelCos FresnelSin Greater GreaterEqual Igamma IgammaGradA
    Igammac Imag Inv Invert IsFinite IsInf IsNan LeftShift Less LessEqual Lgamma Log Log1p LogicalAnd LogicalNot
    LogicalOr Maximum Minimum Mod Mul MulNoNan Ndtri Neg NextAfter NotEqual Polygamma PopulationCount Pow Real RealDiv
    Reciprocal RightShift Rint Round Rsqrt Select SelectV2 Sign Sin Sinh Spence Sqrt Square SquaredDifference Sub Tan
    Tanh TruncateDiv TruncateMod Xdivy Xlog1py Xlogy Zeta
"""
_REDUCTIONS = """
    All Any ArgMax ArgMin Bincount Cumprod Cumsum CumulativeLogsumexp DenseBincount EuclideanNorm HistogramFixedWidth
    InTopK InTopKV2 L2Loss Max Mean Min NthElement Prod RaggedBincount SegmentMax SegmentMaxV2 SegmentMean SegmentMin
    SegmentMinV2 SegmentProd SegmentProdV2 SegmentSum SegmentSumV2 Sum TopK TopKV2 UnsortedSegmentMax
    UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum ApproxTopK
"""
_SHAPES = """
    BatchToSpace BatchToSpaceND BroadcastArgs BroadcastTo BroadcastGradientArgs Concat ConcatOffset ConcatV2
    ConjugateTranspose DepthToSpace Diag DiagPart DynamicPartition DynamicStitch ExpandDims ExtractImagePatches
    ExtractVolumePatches Gather GatherNd GatherV2 InvertPermutation ListDiff LowerBound MatrixBandPart MatrixDiag
    MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2
    MatrixSetDiagV3 MirrorPad Pack Pad PadV2 ParallelDynamicStitch Reshape Reverse ReverseSequence ReverseV2 Roll
    ScatterNd ScatterNdNonAliasingAdd Slice SpaceToBatch SpaceToBatchND SpaceToDepth Split SplitV Squeeze StridedSlice
    TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate
    Tile Transpose Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex UpperBound Where
    TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGather TensorListGetItem TensorListLength
    TensorListPopBack TensorListPushBack TensorListReserve TensorListResize TensorListScatter TensorListScatterV2
    TensorListSetItem TensorListSplit TensorListStack EmptyTensorList
    TensorArrayV3 TensorArrayReadV3 TensorArrayWriteV3 TensorArrayGatherV3 TensorArrayScatterV3 TensorArraySizeV3
    TensorArrayConcatV3 TensorArraySplitV3 TensorArrayCloseV3
"""
_ALGEBRA = """
    BandedTriangularSolve BatchMatMul BatchMatMulV2 BatchMatMulV3 Cholesky Eig Einsum Lu MatMul MatrixDeterminant
    MatrixInverse MatrixLogarithm MatrixSolve MatrixSolveLs MatrixSquareRoot MatrixTriangularSolve LogMatrixDeterminant
    Qr SelfAdjointEigV2 SparseMatMul SparseTensorDenseMatMul Svd TridiagonalMatMul TridiagonalSolve
    FFT FFT2D FFT3D IFFT IFFT2D IFFT3D IRFFT IRFFT2D IRFFT3D RFFT RFFT2D RFFT3D
"""
_LAYERS = """
    AvgPool AvgPool3D BatchNormWithGlobalNormalization BiasAdd BiasAddV1 BlockLSTM BlockLSTMV2 Conv Conv2D
    Conv2DBackpropInput Conv2DBackpropInputV2 Conv3D Conv3DBackpropInput Conv3DBackpropInputV2 CudnnRNN CudnnRNNV2
    CudnnRNNV3 CudnnRNNCanonicalToParams CudnnRNNCanonicalToParamsV2 CudnnRNNParamsSize DataFormatDimMap
    DataFormatVecPermute DepthwiseConv2dNative DepthwiseConv2dNativeBackpropInput Dilation2D Elu FractionalAvgPool
    FractionalMaxPool FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 FusedPadConv2D FusedResizeAndPadConv2D
    GRUBlockCell LRN LSTMBlockCell LeakyRelu LogSoftmax MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax Relu Relu6 Selu
    Sigmoid Softmax Softplus Softsign IsotonicRegression
"""
_QUANTIZED = """
    Dequantize FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel QuantizeAndDequantize
    QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeV2 UniformDequantize
    UniformQuantize UniformQuantizedAdd UniformQuantizedClipByValue UniformQuantizedConvolution
    UniformQuantizedConvolutionHybrid UniformQuantizedDot UniformQuantizedDotHybrid UniformRequantize
"""
_IMAGES = """
    AdjustContrastv2 AdjustHue AdjustSaturation CombinedNonMaxSuppression CropAndResize DecodeAndCropJpeg DecodeBase64
    DecodeBmp DecodeGif DecodeImage DecodeJpeg DecodePaddedRaw DecodePng DecodeRaw DecodeWav DrawBoundingBoxesV2
    EncodeBase64 ExtractGlimpse ExtractGlimpseV2 ExtractJpegShape HSVToRGB ImageProjectiveTransformV2
    ImageProjectiveTransformV3 NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4
    NonMaxSuppressionV5 RGBToHSV ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor ScaleAndTranslate
    AudioSpectrogram Mfcc
"""
_RANDOM = """
    Multinomial RandomGamma RandomPoissonV2 RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt
    RngReadAndSkip RngSkip StatefulStandardNormalV2 StatefulTruncatedNormal StatefulUniform StatefulUniformFullInt
    StatefulUniformInt StatelessMultinomial StatelessRandomBinomial StatelessRandomGammaV2 StatelessRandomGammaV3
    StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormal
    StatelessRandomNormalV2 StatelessRandomPoisson StatelessRandomUniform StatelessRandomUniformFullInt
    StatelessRandomUniformFullIntV2 StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2
    StatelessShuffle StatelessTruncatedNormal StatelessTruncatedNormalV2 TruncatedNormal
"""
_TEXT = """
    AsString ReduceJoin RegexFullMatch RegexReplace StaticRegexFullMatch StaticRegexReplace StringFormat StringJoin
    StringLength StringLower StringNGrams StringSplit StringSplitV2 StringStrip StringToHashBucket
    StringToHashBucketFast StringToHashBucketStrong StringToNumber StringUpper Substr UnicodeDecode
    UnicodeDecodeWithOffsets UnicodeEncode UnicodeScript UnicodeTranscode UnsortedSegmentJoin Fingerprint Bucketize
    EditDistance DecodeCSV DecodeCompressed ParseExample ParseExampleV2 ParseSingleExample ParseTensor
"""
_SPARSE = """
    CSRSparseMatrixToDense DenseToCSRSparseMatrix DenseToDenseSetOperation DeserializeSparse RaggedFillEmptyRows
    RaggedGather RaggedRange RaggedTensorFromVariant RaggedTensorToSparse RaggedTensorToTensor RaggedTensorToVariant
    RaggedCross SerializeManySparse SerializeSparse SerializeTensor SparseAdd SparseBincount SparseConcat SparseCross
    SparseCrossHashed SparseCrossV2 SparseDenseCwiseAdd SparseDenseCwiseDiv SparseDenseCwiseMul SparseFillEmptyRows
    SparseReduceMax SparseReduceSum SparseReorder SparseReshape SparseSegmentMean SparseSegmentMeanWithNumSegments
    SparseSegmentSqrtN SparseSegmentSqrtNWithNumSegments SparseSegmentSum SparseSegmentSumWithNumSegments SparseSlice
    SparseSoftmax SparseSplit SparseTensorDenseAdd SparseToDense SparseToSparseSetOperation DenseCountSparseOutput
    SparseCountSparseOutput RaggedCountSparseOutput
"""

PURE: frozenset[str] = frozenset(
    " ".join(
        (
            *(_CALLS, _VALUES, _VARIABLES, _TABLES, _ARITHMETIC, _REDUCTIONS, _SHAPES, _ALGEBRA, _LAYERS),
            *(_QUANTIZED, _IMAGES, _RANDOM, _TEXT, _SPARSE),
        )
    ).split()
)
"""Operations that a SavedModel may name: what is not listed, and what a newer TensorFlow adds, is refused."""

SAVING: frozenset[str] = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"})
"""Operations of the functions that every SavedModel has for saving itself, which loading does not call."""

_REASONS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("PyFunc", "EagerPyFunc"), "calls Python"),
    (("Write", "Save", "Merge", "DatasetToTFRecord", "CreateSummary"), "writes files"),
    (("Print",), "prints, to files too"),
    (("Debug",), "writes what it sees to files or the network"),
    (("Read", "Matching", "Restore", "Load", "ImmutableConst", "WholeFile", "InitializeTableFrom"), "reads files"),
    (("TFRecord", "TextLine", "FixedLength", "LMDB", "Sql", "CSVDataset"), "reads files"),
    (("Recv", "Send", "Rpc", "Remote", "Collective", "DataService"), "talks to other processes"),
)


def reason(operation: str) -> str:
    """Return what is wrong with an operation that is not pure, in a few words."""
    for starts, words in _REASONS:
        if operation.startswith(starts):
            return words
    if "Dataset" in operation or "Reader" in operation or "File" in operation:
        return "may read files"
    return "is not known to compute on tensors alone"
